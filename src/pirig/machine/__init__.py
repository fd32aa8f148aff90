"""What this computer has (GPUs, EGL devices, memory, versions) and how processes share it. Knows no Docker."""
