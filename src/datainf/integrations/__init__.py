"""datainf in other libraries' interfaces, Captum's and quanda's; each is an optional extra."""
