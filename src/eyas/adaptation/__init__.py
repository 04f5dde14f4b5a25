"""The field: a trained network follows unlabelled images of where it works, and says when it should not."""
