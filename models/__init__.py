"""Networks, plain `nn.Module`s, and their weights as they are read. No task, no data, no launcher."""
