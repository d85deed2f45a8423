"""Scripts of the repository.  Nothing here is part of the package."""
