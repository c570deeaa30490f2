"""For live notebooks: sliders, watched training, explorers, the noise lab, exercises, analyses."""
