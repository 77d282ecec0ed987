"""The training loop and what goes into it: phases, teachers, generations of students."""
