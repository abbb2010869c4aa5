"""The names under which a file holds a Hugging Face folder."""

# metadata of a file with a folder: the names of its files of weights; and the start of the names of its tensors
KEY, PREFIX = "deepcompression.folder", "folder/"
