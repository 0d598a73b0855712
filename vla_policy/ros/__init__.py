"""The only part of the package that imports rclpy or messages."""
