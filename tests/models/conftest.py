from tests.decoder_fixture import tiny_decoder_folder

__all__ = ["tiny_decoder_folder"]
