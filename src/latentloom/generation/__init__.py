"""What a user asked for becomes finished files: the room below the command line and the page."""
