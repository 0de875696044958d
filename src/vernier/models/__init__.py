"""The networks alone, a published system each; their names and weights are in `vernier.zoo`."""
