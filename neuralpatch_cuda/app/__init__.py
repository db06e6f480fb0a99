"""The page in which one paints a hole and sees it filled."""
