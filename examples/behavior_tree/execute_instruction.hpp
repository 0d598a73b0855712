// A leaf of BehaviorTree.CPP 4 that follows one instruction: success only if the policy says that it is done.
#pragma once

#include <string>

#include "behaviortree_ros2/bt_action_node.hpp"
#include "vla_policy/action/execute_instruction.hpp"

namespace vla_policy_bt
{

class ExecuteInstruction : public BT::RosActionNode<vla_policy::action::ExecuteInstruction>
{
public:
  using BT::RosActionNode<vla_policy::action::ExecuteInstruction>::RosActionNode;

  static BT::PortsList providedPorts()
  {
    return providedBasicPorts({
      BT::InputPort<std::string>("instruction", "in plain words"),
      BT::InputPort<double>("timeout_s", 30.0, "0: the task node's own"),
      BT::OutputPort<std::string>("message", "how it ended, one sentence"),
    });
  }

  bool setGoal(Goal & goal) override
  {
    double timeout_s = 0.0;
    if (!getInput("instruction", goal.instruction) || !getInput("timeout_s", timeout_s)) {
      return false;
    }
    goal.timeout = rclcpp::Duration::from_seconds(timeout_s);
    return true;
  }

  BT::NodeStatus onResultReceived(const WrappedResult & wrapped) override
  {
    setOutput("message", wrapped.result->message);
    const bool done = wrapped.code == rclcpp_action::ResultCode::SUCCEEDED &&
      wrapped.result->outcome == vla_policy::action::ExecuteInstruction::Result::DONE;
    return done ? BT::NodeStatus::SUCCESS : BT::NodeStatus::FAILURE;
  }

  BT::NodeStatus onFailure(BT::ActionNodeErrorCode error) override
  {
    setOutput("message", std::string(BT::toStr(error)));
    return BT::NodeStatus::FAILURE;
  }
};

}  // namespace vla_policy_bt
