"""What a person types besides the stages: the commands of ``cuhs``."""
