"""Networks: plain `nn.Module`s that know nothing of tasks, data or the launcher."""
