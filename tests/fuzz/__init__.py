"""Every reader of what people bring, given hostile inputs: refused in our own words, at once and in little memory."""
