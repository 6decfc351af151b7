"""What a camera and its codec do between the scene and the file, step by step."""
