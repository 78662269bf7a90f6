"""The commands of ``cuhs`` that are not stages."""
