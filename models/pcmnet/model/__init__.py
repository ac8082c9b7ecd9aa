"""The networks: PCM-Net and its search, CLIP's towers, the embedded model's towers."""
