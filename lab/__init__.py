"""Real hosts on one machine: containers with systemd and sshd, for the tests and the demo.

What is here needs nothing but the standard library and root. What is *not* here: anything about
databases; hosts start as bare as a new virtual machine.
"""
