"""Multi-scale neural patch synthesis: the optimisation of Yang et al., CVPR 2017, section 3."""
