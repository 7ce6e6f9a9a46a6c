"""datainf: which training examples made my fine-tuned model say this?"""

__version__ = "0.1.0"
