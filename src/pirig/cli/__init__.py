"""The commands. The only place where parts meet; decides nothing."""
