"""The model card template, and the card and results of every trained model."""
