"""The endpoint teacher."""
