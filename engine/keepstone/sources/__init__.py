"""What there is to save. Sources read; they never see a repository or a key of one."""
