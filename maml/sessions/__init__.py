"""What the app remembers and does for a visitor.  Nothing here imports Gradio."""
