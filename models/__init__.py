"""Networks: plain `nn.Module`s. They know nothing of tasks, data or the launcher."""
