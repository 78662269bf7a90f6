"""Head-shoulder boxes for images of people that no annotation file gives a box."""
