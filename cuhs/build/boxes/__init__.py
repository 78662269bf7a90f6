"""Head-shoulder boxes for people to whom no file gives one."""
