"""The network: recurrent cells, their loops over a sequence, the language model and its loss."""
