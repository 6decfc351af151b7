"""The FMA-Net network: tensors in, tensors out."""
