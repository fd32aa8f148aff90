"""What can stand behind `policy.infer`."""
