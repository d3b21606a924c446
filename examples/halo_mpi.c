/* SPDX-License-Identifier: MIT */
/*
 * halo_mpi [ROUNDS]: what halo does, by MPI, for the comparison: a bar of metal that cools, each
 * process with a part of it. In each round a part puts its borders into its neighbours' windows;
 * MPI_Win_post, MPI_Win_start and so on say when, as the messages do in halo. Every part checks its
 * result.
 *
 *	mpicc halo_mpi.c -o halo_mpi && mpiexec -n 8 ./halo_mpi 100
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { cells = 1000 };

static int count, rounds, rank;
static MPI_Win window;
static MPI_Group neighbours;

static void exchange(const double *left, const double *right)
{
	/* From the left, from the right: what the neighbours write is in the window's two places.
	 */
	MPI_Win_post(neighbours, 0, window);
	MPI_Win_start(neighbours, 0, window);
	if (rank > 0)
		MPI_Put(left, 1, MPI_DOUBLE, rank - 1, 1, 1, MPI_DOUBLE, window);
	if (rank < count - 1)
		MPI_Put(right, 1, MPI_DOUBLE, rank + 1, 0, 1, MPI_DOUBLE, window);
	MPI_Win_complete(window);
	MPI_Win_wait(window);
}

static void step(double *bar, double *next, int n)
{
	int i;

	for (i = 1; i <= n; i++)
		next[i] = bar[i] + 0.25 * (bar[i - 1] - 2 * bar[i] + bar[i + 1]);
	memcpy(bar + 1, next + 1, (size_t)n * sizeof *bar);
}

static double initial(int i)
{
	return i * 7919 % 1000;
}

/* The whole bar by one process: what has to come out. */
static double *alone(void)
{
	int n = count * cells, i;
	double *bar = calloc((size_t)n + 2, sizeof *bar),
	       *next = calloc((size_t)n + 2, sizeof *bar);

	if (bar == NULL || next == NULL)
		MPI_Abort(MPI_COMM_WORLD, 1);
	for (i = 1; i <= n; i++)
		bar[i] = initial(i);
	for (i = 0; i < rounds; i++)
		step(bar, next, n);
	free(next);
	return bar;
}

static void make_window(double **border)
{
	MPI_Group all;
	int members[2], n = 0;

	MPI_Win_allocate(2 * sizeof **border, sizeof **border, MPI_INFO_NULL, MPI_COMM_WORLD,
			 border, &window);
	(*border)[0] = (*border)[1] = 0;
	if (rank > 0)
		members[n++] = rank - 1;
	if (rank < count - 1)
		members[n++] = rank + 1;
	MPI_Comm_group(MPI_COMM_WORLD, &all);
	MPI_Group_incl(all, n, members, &neighbours);
	MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
	static double bar[cells + 2], next[cells + 2];
	double *border, *right;
	int i, wrong = 0;

	MPI_Init(&argc, &argv);
	MPI_Comm_size(MPI_COMM_WORLD, &count);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	rounds = argc > 1 ? atoi(argv[1]) : 100;
	make_window(&border);
	for (i = 1; i <= cells; i++)
		bar[i] = initial(rank * cells + i);
	for (i = 0; i < rounds; i++) {
		exchange(&bar[1], &bar[cells]);
		bar[0] = border[0];
		bar[cells + 1] = border[1];
		step(bar, next, cells);
	}
	right = alone();
	for (i = 1; i <= cells; i++)
		wrong += bar[i] != right[rank * cells + i];
	free(right);
	printf("part %d of %d: %d rounds, %d cells wrong\n", rank, count, rounds, wrong);
	MPI_Group_free(&neighbours);
	MPI_Win_free(&window);
	MPI_Finalize();
	return wrong != 0;
}
