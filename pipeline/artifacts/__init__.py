"""The files between the stages, as typed objects that read and write themselves."""
