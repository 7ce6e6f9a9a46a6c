"""python -m datainf."""

from datainf.launch import end_with_launcher

end_with_launcher()  # which may end while the libraries are read

from datainf.cli import main  # noqa: E402

main()
