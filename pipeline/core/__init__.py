"""What everything stands on: errors, params, files, places, identity, processes. No torch."""
