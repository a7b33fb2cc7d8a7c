"""The recurrent cells and the language model, in PyTorch."""
