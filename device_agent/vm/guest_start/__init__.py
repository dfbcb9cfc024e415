"""What CPython imports while it makes a VM's interpreter: stand-ins that do the least it accepts.

Rules of this package:

- They are frozen code, never files, and never load in the main interpreter, which has the real modules.
- They last until the boot (device_agent/vm/guest.py) is done: it takes them out of `sys.modules`, and a task that
  imports one of these names gets the real module from the allow-list.
"""
