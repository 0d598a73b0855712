"""All that imports rclpy or messages."""
