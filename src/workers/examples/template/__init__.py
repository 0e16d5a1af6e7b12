"""The template teacher."""
