"""The labels of a run in the formats of other tools: a CSV table, COCO's JSON, FiftyOne."""
