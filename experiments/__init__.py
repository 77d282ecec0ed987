"""Many runs: the stages in folders that are kept, swept and compared."""
