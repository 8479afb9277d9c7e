"""How well clips do what they were asked: held-out scenes, judges trained on rendered clips, and measures that need no judge."""
