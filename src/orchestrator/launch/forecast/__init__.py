"""What a launch will take: time, disk, rationales; from the trials that ended, never from a guess."""
