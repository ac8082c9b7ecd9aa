"""The paper's path: the released configurations on stored CLIP features, from captions to the paper's tables."""
