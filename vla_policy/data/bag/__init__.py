"""Recordings of a robot's topics: MCAP and sqlite3 bags of rosbag2, read and written without ROS."""
