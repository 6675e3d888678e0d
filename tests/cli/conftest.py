from tests.decoder_fixture import tiny_decoder_folder, tiny_model_folder

__all__ = ["tiny_decoder_folder", "tiny_model_folder"]
