"""What the stages ``identity`` and ``fit_flame`` share about pixels: windows out of a video, looks on disk."""
