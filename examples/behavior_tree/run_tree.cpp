// Runs put_away.xml, or the tree of another file, once; the exit code is 0 if it succeeded.
#include <chrono>
#include <iostream>
#include <memory>

#include "behaviortree_cpp/bt_factory.h"
#include "execute_instruction.hpp"
#include "rclcpp/rclcpp.hpp"

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  if (argc < 2) {
    std::cerr << "usage: run_tree TREE.xml" << std::endl;
    return 2;
  }
  auto node = std::make_shared<rclcpp::Node>("behavior_tree");
  BT::RosNodeParams params;
  params.nh = node;
  params.default_port_value = "execute_instruction";
  params.wait_for_server_timeout = std::chrono::seconds(10);
  BT::BehaviorTreeFactory factory;
  factory.registerNodeType<vla_policy_bt::ExecuteInstruction>("ExecuteInstruction", params);
  auto tree = factory.createTreeFromFile(argv[1]);
  const auto status = tree.tickWhileRunning(std::chrono::milliseconds(50));
  std::string message;
  if (tree.rootBlackboard()->get("message", message)) {
    std::cout << message << std::endl;
  }
  std::cout << BT::toStr(status) << std::endl;
  rclcpp::shutdown();
  return status == BT::NodeStatus::SUCCESS ? 0 : 1;
}
