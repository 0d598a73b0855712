"""Commands to controllers: one small module for each kind of controller."""
