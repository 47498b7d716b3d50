"""Who speaks when, from sound alone: whatever found it, every backend answers with one ``heard.Heard``."""
