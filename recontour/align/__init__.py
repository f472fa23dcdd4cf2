"""From anywhere to roughly on top: translation search and elastix, the only room that knows itk."""
