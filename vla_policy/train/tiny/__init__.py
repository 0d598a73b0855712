"""The shipped model's recipe, for one robot or several."""
