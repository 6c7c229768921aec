"""Programs that feed the package what no service would say."""
